"""A small bookstore that can fail, for ``osm-healthcheck demo``."""
