"""The commands of a user: run, sync, plan, status, verify."""
