"""Everything that a hospital archive does to a loader, each in a folder, with its expected end."""
