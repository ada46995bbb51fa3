package openai

import (
	"encoding/json"
	"errors"
	"testing"

	"github.com/triarch-ai/triarch/internal/fault"
)

func TestErrorOf(t *testing.T) {
	for _, c := range []struct {
		err    error
		status int
		body   string
	}{
		{fault.InvalidField("n", "n must be less."), 400, `{"error":{"message":"n must be less.","type":"invalid_request_error","param":"n","code":null}}`},
		{fault.New(fault.Unauthenticated, "No.", fault.Code("key_revoked"), fault.Fix("Make one.")), 401, `{"error":{"message":"No. Make one.","type":"invalid_request_error","param":null,"code":"invalid_api_key"}}`},
		{fault.New(fault.NoMoney, "No."), 429, `{"error":{"message":"No.","type":"insufficient_quota","param":null,"code":"insufficient_quota"}}`},
		{fault.New(fault.RateLimited, "No."), 429, `{"error":{"message":"No.","type":"requests","param":null,"code":"rate_limit_exceeded"}}`},
		{fault.New(fault.RateLimited, "No.", fault.Code(CodeTokens)), 429, `{"error":{"message":"No.","type":"tokens","param":null,"code":"rate_limit_exceeded"}}`},
		{fault.New(fault.Unsupported, "No.", fault.Field("tools")), 400, `{"error":{"message":"No.","type":"invalid_request_error","param":"tools","code":"unsupported_parameter"}}`},
		{fault.New(fault.Unavailable, "No.", fault.Cause(errors.New("secret"))), 503, `{"error":{"message":"No.","type":"server_error","param":null,"code":"unavailable"}}`},
		{errors.New("secret"), 500, `{"error":{"message":"Something went wrong inside Triarch; the log of the control plane has the cause.","type":"server_error","param":null,"code":"internal_error"}}`},
	} {
		status, e := ErrorOf(c.err)
		if status != c.status || string(e.Body()) != c.body {
			t.Errorf("%v:\n got %d %s\nwant %d %s", c.err, status, e.Body(), c.status, c.body)
		}
		var b ErrorBody
		if event := string(e.Event()); event != "data: "+c.body+"\n\n" || json.Unmarshal(e.Body(), &b) != nil {
			t.Errorf("event %q", event)
		}
	}
}
