package server

import (
	"context"
	"errors"
	"io"
	"mime"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/triarch-ai/triarch/api"
	"github.com/triarch-ai/triarch/internal/fault"
	"github.com/triarch-ai/triarch/internal/id"
	"github.com/triarch-ai/triarch/internal/page"
	"github.com/triarch-ai/triarch/models/data"
	"github.com/triarch-ai/triarch/storage/blob"
	"github.com/triarch-ai/triarch/tenancy/auth"
)

// DataPath names a data version.
type DataPath struct {
	Data string `path:"data" maxLength:"200" doc:"id, name or name@number"`
}

func (s *Server) dataOps() {
	op(s, "list-data", "data", "List data sets", func(ctx context.Context, p *auth.Principal, in *PageParam) (*out[api.List[api.DataSet]], error) {
		return paged(dataList, *in, dataSet, func(q page.Page) ([]data.Set, error) { return s.Data.Sets(ctx, p.ProjectID, q) })
	})
	op(s, "import-data", "data", "Import a file as a version of a data set", s.importData, status(http.StatusCreated), takes("application/octet-stream"))
	op(s, "get-data", "data", "Show a data version", func(ctx context.Context, p *auth.Principal, in *DataPath) (*out[api.DataVersion], error) {
		v, err := s.Data.Get(ctx, p.ProjectID, in.Data)
		return &out[api.DataVersion]{dataVersion(v)}, err
	})
	op(s, "list-data-versions", "data", "List the versions of a data set, newest first", func(ctx context.Context, p *auth.Principal, in *struct {
		DataPath
		PageParam
	}) (*out[api.List[api.DataVersion]], error) {
		name := in.Data
		if id.Valid("dv", name) {
			v, err := s.Data.Get(ctx, p.ProjectID, name)
			if err != nil {
				return nil, err
			}
			name = v.DataSet
		}
		return paged(dataVersionList, in.PageParam, dataVersion, func(q page.Page) ([]data.Version, error) { return s.Data.Versions(ctx, p.ProjectID, name, q) })
	})
	op(s, "read-data", "data", "Download the records of a version as JSON lines", func(ctx context.Context, p *auth.Principal, in *DataPath) (*huma.StreamResponse, error) {
		_, r, err := s.Data.Open(ctx, p.ProjectID, in.Data)
		if err != nil {
			return nil, err
		}
		return s.download(ctx, "application/jsonl", func(w io.Writer) error {
			_, err := io.Copy(w, r)
			return errors.Join(err, r.Close())
		}), nil
	}, gives("application/jsonl"))
	op(s, "remove-data", "data", "Remove a data version", func(ctx context.Context, p *auth.Principal, in *DataPath) (*none, error) {
		return nil, s.Data.Remove(ctx, p.ProjectID, in.Data)
	}, status(http.StatusNoContent))
}

type importIn struct {
	Name    string `query:"name" required:"true" maxLength:"200" doc:"of the data set; made when it does not exist"`
	Format  string `query:"format" required:"true" doc:"text, jsonl or chat"`
	SkipBad bool   `query:"skip_bad" doc:"leave broken lines out and count them"`
}

func (s *Server) importData(ctx context.Context, p *auth.Principal, in *importIn) (*out[api.DataVersion], error) {
	format, err := data.ParseFormat(in.Format)
	if err != nil {
		return nil, err
	}
	body, err := s.uploaded(ctx)
	if err != nil {
		return nil, err
	}
	v, err := s.Data.Import(ctx, p.ProjectID, in.Name, format, body, data.Options{SkipBad: in.SkipBad, CreatedBy: p.KeyID})
	return &out[api.DataVersion]{dataVersion(v)}, err
}

// uploaded is the body of an upload: the whole body, or the part named file of a form. It is bounded and never held
// in memory.
func (s *Server) uploaded(ctx context.Context) (io.Reader, error) {
	x := exchangeOf(ctx)
	if x.r.ContentLength > s.MaxUpload {
		return nil, tooLarge(s.MaxUpload)
	}
	c := http.NewResponseController(x.w)
	_ = c.EnableFullDuplex()
	x.up = s.upload(c, x.r.Body)
	kind, _, err := mime.ParseMediaType(x.r.Header.Get("Content-Type"))
	if err != nil || kind != "multipart/form-data" {
		return x.up, nil
	}
	x.r.Body = io.NopCloser(x.up)
	form, err := x.r.MultipartReader()
	if err != nil {
		return nil, fault.New(fault.Invalid, "The form cannot be read.", fault.Cause(err))
	}
	for range 16 {
		part, err := form.NextPart()
		if err != nil {
			break
		}
		if part.FormName() == "file" {
			return part, nil
		}
	}
	return nil, fault.New(fault.Invalid, "The form has no part named file.", fault.Field("file"))
}

// takes documents a streamed request body; documentForms adds that it can also be a form.
func takes(kind string) func(*huma.Operation) {
	return func(o *huma.Operation) {
		o.RequestBody = &huma.RequestBody{Required: true,
			Content: map[string]*huma.MediaType{kind: {Schema: &huma.Schema{Type: "string", Format: "binary"}}}}
	}
}

// gives documents a streamed answer.
func gives(kind string) func(*huma.Operation) {
	return func(o *huma.Operation) {
		o.Responses = map[string]*huma.Response{"200": {Description: "OK",
			Content: map[string]*huma.MediaType{kind: {Schema: &huma.Schema{Type: "string", Format: "binary"}}}}}
	}
}

// download streams what write writes. An error before the first byte is answered as a problem; one after it cuts the
// connection, so that nobody takes the part for the whole.
func (s *Server) download(ctx context.Context, kind string, write func(io.Writer) error) *huma.StreamResponse {
	x := exchangeOf(ctx)
	return &huma.StreamResponse{Body: func(huma.Context) {
		d := &lazy{to: newPaced(x.w), kind: kind}
		err := write(d)
		switch {
		case err == nil:
			d.begin()
		case !d.begun:
			s.fail(x.w, x.r, err)
		default:
			s.Log.Warn("download broke off", "id", requestID(ctx), "error", err)
			panic(http.ErrAbortHandler)
		}
	}}
}

// lazy sends the header with the first byte.
type lazy struct {
	to    *paced
	kind  string
	begun bool
}

func (d *lazy) begin() {
	if !d.begun {
		d.begun = true
		d.to.w.Header().Set("Content-Type", d.kind)
		d.to.w.WriteHeader(http.StatusOK)
	}
}

func (d *lazy) Write(b []byte) (int, error) {
	d.begin()
	return d.to.Write(b)
}

func dataSet(x data.Set) api.DataSet {
	return api.DataSet{Name: x.Name, Versions: x.Versions, Latest: dataVersion(x.Latest)}
}

func dataVersion(v data.Version) api.DataVersion {
	return api.DataVersion{ID: v.ID, DataSet: v.DataSet, Number: v.Number, Format: string(v.Format), SHA256: hexOf(v.Ref), Bytes: v.Bytes,
		Records: v.Records, Chars: v.Chars, Bad: v.Bad, BadLines: badLines(v.BadLines), CreatedBy: v.CreatedBy, CreatedAt: v.CreatedAt, RemovedAt: timeOrNil(v.RemovedAt)}
}

func badLines(in []data.BadLine) []api.BadLine {
	var out []api.BadLine
	for _, l := range in {
		out = append(out, api.BadLine{Line: l.Line, Reason: l.Reason})
	}
	return out
}

func hexOf(r blob.Ref) string {
	if !r.Valid() {
		return ""
	}
	return r.Hex()
}
