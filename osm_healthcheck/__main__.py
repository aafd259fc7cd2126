"""``python -m osm_healthcheck`` is the command ``osm-healthcheck``."""

from osm_healthcheck.cli.main import main

if __name__ == "__main__":
    main()
