"""What sagas add to the desk: buying at an exchange, which keeps a book of its own."""
