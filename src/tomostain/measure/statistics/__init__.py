"""Agreement, abstention and the comparison of groups."""
