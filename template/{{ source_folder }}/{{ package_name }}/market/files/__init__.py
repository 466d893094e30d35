"""What the data tree adds to the desk: daily bars as files."""
