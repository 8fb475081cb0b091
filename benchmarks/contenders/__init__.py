"""Who takes part: a class for each, a file for each library. `roster` lists them."""
