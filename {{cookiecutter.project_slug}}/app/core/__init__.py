"""What every part of the service builds on."""
