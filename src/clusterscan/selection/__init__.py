"""The selection function: what the chain finds of clusters put into its images, and of none."""
