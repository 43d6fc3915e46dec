// Command hello is all that the image from scratch holds.
package main

import (
	"fmt"
	"io"
	"os"
	"strconv"
)

// main echoes its arguments, copies its input (`cat`) or ends with a code (`exit N`).
func main() {
	if len(os.Args) == 2 && os.Args[1] == "cat" {
		if _, err := io.Copy(os.Stdout, os.Stdin); err != nil {
			os.Exit(1)
		}
		return
	}
	if len(os.Args) == 3 && os.Args[1] == "exit" {
		code, _ := strconv.Atoi(os.Args[2])
		os.Exit(code)
	}
	for number, argument := range os.Args[1:] {
		fmt.Printf("%d:%s\n", number+1, argument)
	}
}
