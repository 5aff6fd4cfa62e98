"""Download many files politely: nothing lands that is not whole and what it claims to be."""
