package dialect

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/triarch-ai/triarch/internal/fault"
)

func TestFilesTakeThePlaceOfTheirIDs(t *testing.T) {
	files := map[string]LeftFile{"file_pdf": {"a.pdf", []byte("%PDF")}, "file_png": {"shot", []byte("\x89PNG\r\n\x1a\n")}, "file_txt": {"a.txt", []byte("hi \"you\"")}}
	get := func(id string) (LeftFile, error) {
		if f, ok := files[id]; ok {
			return f, nil
		}
		return LeftFile{}, fault.New(fault.NotFound, "gone")
	}
	for _, c := range []struct {
		d        Kind
		in, want string
	}{
		{Chat, `{ "messages":[{"content":[{"type":"file" , "file":{"file_id":"file_pdf"}},{"type":"text","text":"file_id"}]},{"content":"file_id"}],"x":{"file_id":"y"}}`,
			`{ "messages":[{"content":[{"type":"file" , "file":{"filename":"a.pdf","file_data":"data:application/pdf;base64,JVBERg=="}},{"type":"text","text":"file_id"}]},{"content":"file_id"}],"x":{"file_id":"y"}}`},
		{Responses, `{"input":[{"content":[{"type":"input_image","file_id":"file_png","detail":"low"},{"type":"input_file","file_id":"file_txt"}]},{"type":"function_call_output","output":[{"type":"input_file","file_id":"file_pdf"}]}]}`,
			`{"input":[{"content":[{"type":"input_image","image_url":"data:image/png;base64,iVBORw0KGgo=","detail":"low"},{"type":"input_file","filename":"a.txt","file_data":"data:text/plain;base64,aGkgInlvdSI="}]},{"type":"function_call_output","output":[{"type":"input_file","filename":"a.pdf","file_data":"data:application/pdf;base64,JVBERg=="}]}]}`},
		{Anthropic, `{"messages":[{"content":[{"type":"image","source":{"type":"file","file_id":"file_png"}},{"type":"document","source":{"type":"file","file_id":"file_txt"},"title":"t"},
			{"type":"tool_result","content":[{"type":"document","source":{"type":"file","f\u0069le_id":"file_pdf"}}]}]}]}`,
			`{"messages":[{"content":[{"type":"image","source":{"type":"base64","media_type":"image/png","data":"iVBORw0KGgo="}},{"type":"document","source":{"type":"text","media_type":"text/plain","data":"hi \"you\""},"title":"t"},
			{"type":"tool_result","content":[{"type":"document","source":{"type":"base64","media_type":"application/pdf","data":"JVBERg=="}}]}]}]}`},
		{Google, `{"contents":[{"parts":[{"file_id":"x"}]}]}`, `{"contents":[{"parts":[{"file_id":"x"}]}]}`},
		{Chat, `{"messages":5}`, `{"messages":5}`}, {Responses, `{"input":"file_id"}`, `{"input":"file_id"}`},
		{Chat, `{"messages":[{"content":[{"file":{"file_id":"a","file_id":"b"}}]}],"messages":[{"content":[{"file":{"file_id":"file_x"}}]}]}`, ""},
		{Chat, `{"messages":[`, ""},
	} {
		out, err := WithFiles(c.d, []byte(c.in), get)
		if c.want == "" {
			if err == nil {
				t.Errorf("%s became %s", c.in, out)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", c.in, err)
		}
		if d := cmp.Diff(c.want, string(out)); d != "" {
			t.Error(d)
		}
	}
}

// A name that is there twice hides nothing: each is asked for, the last one too.
func TestNoFileHidesBehindAnother(t *testing.T) {
	var asked []string
	stop := errors.New("stop")
	for _, body := range []string{`{"messages":[],"messages":[{"content":[{"type":"file","file":{},"file":{"file_id":"b"}}]}]}`,
		`{"messages":[{"content":"x","content":[{"type":"file","file":{"file_id":null,"file_id":"b"}}]}]}`} {
		_, err := WithFiles(Chat, []byte(body), func(id string) (LeftFile, error) { asked = append(asked, id); return LeftFile{}, stop })
		if !errors.Is(err, stop) {
			t.Errorf("%s: %v", body, err)
		}
	}
	if !cmp.Equal(asked, []string{"b", "b"}) {
		t.Error(asked)
	}
}

func TestNamesFiles(t *testing.T) {
	for body, want := range map[string]bool{``: false, `file_id`: true, `{"a":"_ file_i","file_id":1}`: true, `_______`: false, `xfile_i`: false, `{"file-id":"_"}`: false, `file_file_id`: true} {
		if NamesFiles([]byte(body)) != want {
			t.Error(body)
		}
	}
}
