"""Small web applications that send messages, one for each framework, and a demonstration that runs one of them."""
