"""Give listed objects a calibrated probability of each class, by a trained model."""
