package main

func consoleMode(args []string) int    { return 0 }
func signalMode(args []string) int     { return 0 }
func waitSignalMode(args []string) int { return 0 }
func writeFileMode(args []string) int  { return 0 }
func licenseMode(args []string) int    { return 0 }
