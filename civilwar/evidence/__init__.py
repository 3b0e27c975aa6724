"""Rules, the numbers behind them, and the verdicts. Needs no torch."""
