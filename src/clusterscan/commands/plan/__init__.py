"""What a run will cost, before it runs; and beside it what it did cost, afterwards."""
