"""What the service needs of the world, named by role. One module for each part of the work."""
