"""Networks that are trained on crops and scan whole tiles."""
