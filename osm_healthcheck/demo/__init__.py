"""A small bookstore that can fall ill, for ``osm-healthcheck demo``."""
