package clients

// class is the client's own exception for a status.
func (s speaker) class(status int) string {
	switch {
	case s.lang == "go" && s.api == "google":
		return "genai.APIError"
	case s.lang == "go":
		return "Error"
	case s.api == "google":
		return "ApiError"
	}
	if name := exceptions[status]; name != "" {
		return name
	}
	if name := anthropics[status]; name != "" && s.api == "anthropic" {
		return name
	}
	switch {
	case status >= 500:
		return "InternalServerError"
	case s.lang == "python":
		return "APIStatusError"
	}
	return "APIError"
}

// exceptions are named alike in all of them.
var exceptions = map[int]string{400: "BadRequestError", 401: "AuthenticationError", 403: "PermissionDeniedError", 404: "NotFoundError", 409: "ConflictError",
	422: "UnprocessableEntityError", 429: "RateLimitError"}

// anthropics are Anthropic's clients' alone.
var anthropics = map[int]string{402: "PaymentRequiredError", 413: "ContentTooLargeError", 503: "ServiceUnavailableError", 529: "OverloadedError"}
