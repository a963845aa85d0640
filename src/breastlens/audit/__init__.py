"""What is doubtful about the data: problems that make a score look better than it is."""
