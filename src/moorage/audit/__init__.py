"""What went through a connection, on record: written in ContainerSSH's format, and read again."""
