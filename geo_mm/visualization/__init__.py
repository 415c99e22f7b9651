"""Pictures of chips and of results."""
