"""What the notebooks call, and how they become a book."""
