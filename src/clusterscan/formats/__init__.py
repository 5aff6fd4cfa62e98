"""One owner for each file that more than one stage touches."""
