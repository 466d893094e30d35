"""What Redis adds to the desk: cached prices, limits, live prices and a nightly report."""
