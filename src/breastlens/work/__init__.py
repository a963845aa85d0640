"""Long jobs as lists of units that can be done apart, in any order, here or elsewhere, and are never done twice."""
