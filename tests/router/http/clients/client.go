// Go's net/http as it is by default, of a known and of an unknown length; prints one status a line.
package main

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
)

func main() {
	for i := 0; i < 3; i++ {
		ask(strings.NewReader(`{"text": "help"}`))
		ask(io.MultiReader(strings.NewReader(`{"text": "help"}`)))
	}
}

func ask(body io.Reader) {
	response, err := http.Post(os.Args[1], "application/json", body)
	if err != nil {
		fmt.Println(err)
		return
	}
	io.Copy(io.Discard, response.Body)
	response.Body.Close()
	fmt.Println(response.StatusCode)
}
