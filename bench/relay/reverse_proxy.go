// A bare reverse proxy on Go's standard library: what a gateway costs that does nothing.
//
//	reverse_proxy PORT UPSTREAM
package main

import (
	"bytes"
	"io"
	"log"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
)

func main() {
	upstream, err := url.Parse(os.Args[2])
	if err != nil {
		log.Fatal(err)
	}
	// The default keeps two idle connections for a host, and would dial for nearly each request of many.
	transport := &http.Transport{MaxIdleConns: 4096, MaxIdleConnsPerHost: 4096, DisableCompression: true}
	// The body is read first: a vendor that answers before the proxy has seen the body's end makes it close the connection to the
	// vendor, and about one stream in a thousand broke.
	rewrite := func(request *httputil.ProxyRequest) {
		request.SetURL(upstream)
		body, _ := io.ReadAll(request.In.Body)
		request.Out.Body = io.NopCloser(bytes.NewReader(body))
	}
	proxy := &httputil.ReverseProxy{Transport: transport, Rewrite: rewrite}
	log.Fatal(http.ListenAndServe("127.0.0.1:"+os.Args[1], proxy))
}
