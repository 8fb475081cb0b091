"""What is true in every process of a family: each has its own connection, and none touches another's."""
