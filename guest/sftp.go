package main

func sftpMode(args []string) int { return 0 }
func fileMode(args []string) int { return 0 }
