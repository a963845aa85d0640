"""Networks: which there are, how they are built and frozen, how they are run and saved."""
