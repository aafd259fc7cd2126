"""What a mesh needs: its annotations, and the configuration of its proxy."""
