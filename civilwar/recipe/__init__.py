"""What is to be trained: configurations, the plan of runs, rotary frequencies, costs. Needs no torch."""
