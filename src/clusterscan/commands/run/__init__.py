"""`clusterscan run`: sync the sources, run the workflow, show how far it is."""
