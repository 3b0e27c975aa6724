"""What is measured of heads, while a model trains and on fixed texts. Needs torch."""
