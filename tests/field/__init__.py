"""What users of such libraries have reported: one file for each theme."""
