"""Internal tools that several packages share. Applications must not import this package."""
