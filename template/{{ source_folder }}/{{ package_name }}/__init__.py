"""The application around the data layer; see README.md."""
