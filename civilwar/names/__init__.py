"""What things are called: variants, kinds of head, verdicts and measures, each with a label, a colour and a sentence."""
