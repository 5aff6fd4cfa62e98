"""What a user calls: run, sync, plan, status, verify."""
