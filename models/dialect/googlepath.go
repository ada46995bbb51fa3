package dialect

import (
	"net/url"
	"strings"

	"github.com/triarch-ai/triarch/internal/fault"
)

// The methods of Google's models, which end the path after a colon.
const (
	GoogleWhole  = "generateContent"
	GoogleStream = "streamGenerateContent" // with alt=sse: events; without: a JSON array
	GoogleCount  = "countTokens"

	GoogleEmbed      = "embedContent"
	GoogleEmbedBatch = "batchEmbedContents" // several at once
)

// GooglePath is the path and query of a request to an upstream of Google's dialect, below its version ("/v1beta"); the
// stream is asked for as events.
func GooglePath(model string, stream bool) (string, error) {
	name := strings.TrimPrefix(model, "models/")
	if name == "" || name == "." || name == ".." || len(name) > maxName {
		return "", fault.InvalidField("model", "model must be a name of 1 to %d bytes.", maxName)
	}
	path := "/models/" + url.PathEscape(name) + ":"
	if stream {
		return path + GoogleStream + "?alt=sse", nil
	}
	return path + GoogleWhole, nil
}

// GoogleBatchPath is the path of a request for vectors to an upstream of Google's dialect, below its version.
func GoogleBatchPath(model string) (string, error) {
	path, err := GooglePath(model, false)
	return strings.TrimSuffix(path, GoogleWhole) + GoogleEmbedBatch, err
}

// ParseGooglePath parts what follows "models/" in a client's path, unescaped already, into the model and the method;
// false when there is none. A model's name may have colons and slashes of its own.
func ParseGooglePath(rest string) (model, method string, ok bool) {
	i := strings.LastIndexByte(rest, ':')
	if i < 1 || i > maxName {
		return "", "", false
	}
	switch method = rest[i+1:]; method {
	case GoogleWhole, GoogleStream, GoogleCount, GoogleEmbed, GoogleEmbedBatch:
		return rest[:i], method, true
	}
	return "", "", false
}
