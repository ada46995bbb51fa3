package tokenizer

import (
	"math"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/triarch-ai/triarch/internal/fault"
)

// The special tokens of the models made here, in the order of their ids from 0.
const (
	PadToken   = "<|pad|>"
	BOSToken   = "<|bos|>"
	StartToken = "<|im_start|>"
	EndToken   = "<|im_end|>"
)

// Specials gives the special tokens of our own models in the order of their ids: what Train is called with.
func Specials() []string { return []string{PadToken, BOSToken, StartToken, EndToken} }

// Message is one turn of a conversation.
type Message struct {
	Role    string // system, user, assistant, tool or ipython
	Content string
}

// Chat turns conversations into the ids a model was trained on. It is immutable and safe for concurrent use.
type Chat struct {
	t     *Tokenizer
	jinja string
	form  *form // nil if the template is not one this engine can render
}

// form is a chat template: begin once, then open ROLE afterRole CONTENT close afterClose for each message.
type form struct {
	jinja                 string
	begin                 string // special token before the first message; may be empty
	open, closeToken      string // special tokens
	sep                   string // special token between role and content; may be empty
	afterRole, afterClose string // plain text
	trim                  bool   // content is stripped of white space at both ends
	system                string // a system message put first if the caller gave none; may be empty
}

// ownJinja is our template as Jinja: BOS once, then ChatML.
const ownJinja = `{{ '<|bos|>' }}{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}`

const chatMLJinja = `{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}`

const smolJinja = `{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}{{ '<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n' }}{% endif %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}`

const llama3Jinja = `{% set loop_messages = messages %}{% for message in loop_messages %}{% set content = '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n'+ message['content'] | trim + '<|eot_id|>' %}{% if loop.index0 == 0 %}{% set content = bos_token + content %}{% endif %}{{ content }}{% endfor %}{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}`

// forms are the templates this engine renders, ours first.
var forms = []form{
	{jinja: ownJinja, begin: BOSToken, open: StartToken, afterRole: "\n", closeToken: EndToken, afterClose: "\n"},
	{jinja: chatMLJinja, open: StartToken, afterRole: "\n", closeToken: EndToken, afterClose: "\n"},
	{jinja: smolJinja, open: StartToken, afterRole: "\n", closeToken: EndToken, afterClose: "\n",
		system: "You are a helpful AI assistant named SmolLM, trained by Hugging Face"},
	{jinja: llama3Jinja, begin: "<|begin_of_text|>", open: "<|start_header_id|>", sep: "<|end_header_id|>", afterRole: "\n\n",
		closeToken: "<|eot_id|>", trim: true},
}

// NewChat gives our own chat form on a tokenizer that has its special tokens (fault.Unsupported if not).
func NewChat(t *Tokenizer) (*Chat, error) {
	c := LoadChat(t, ownJinja)
	if c.form == nil {
		return nil, fault.Newf(fault.Unsupported, "The tokenizer lacks the chat tokens %s.", strings.Join(Specials(), " "))
	}
	return c, nil
}

// plainTemplate spells a template in one way: files write a line break within a literal as itself or as \n.
func plainTemplate(jinja string) string {
	return strings.ReplaceAll(strings.TrimSpace(jinja), `\n`, "\n")
}

// LoadChat gives the chat form of a model from its Jinja template. A template is known by its text alone, no Jinja
// is run; of one that is not known, or whose special tokens the tokenizer lacks, only the text is kept and Render
// fails. An empty template is one that is not known.
func LoadChat(t *Tokenizer, jinja string) *Chat {
	c := &Chat{t: t, jinja: jinja}
	for i := range forms {
		f := &forms[i]
		if plainTemplate(jinja) != plainTemplate(f.jinja) {
			continue
		}
		complete := true
		for _, s := range []string{f.begin, f.open, f.sep, f.closeToken} {
			id, ok := t.ID(s)
			complete = complete && (s == "" || ok && t.IsSpecial(id))
		}
		if complete {
			c.form = f
		}
	}
	return c
}

// Jinja is the template's text, for tokenizer_config.json.
func (c *Chat) Jinja() string { return c.jinja }

// CanRender says whether Render knows the template.
func (c *Chat) CanRender() bool { return c.form != nil }

// EndTurn is the token that ends an assistant's turn, on which generation stops; ok is false if the template is
// not known.
func (c *Chat) EndTurn() (id int32, ok bool) {
	if c.form == nil {
		return 0, false
	}
	return c.t.ID(c.form.closeToken)
}

var roles = map[string]bool{"system": true, "user": true, "assistant": true, "tool": true, "ipython": true}

// Render gives the ids of a conversation, with the opening of an assistant's turn at the end if generationPrompt.
// Roles and contents are plain text whatever they spell. assistantMask has the length of ids and is true on what
// an assistant says: its content and the token that ends its turn. A token that begins in the header before the
// content, which happens when the content starts with white space, counts as header.
// Errors: fault.Invalid with the field messages; fault.Unsupported if the template is not known.
func (c *Chat) Render(msgs []Message, generationPrompt bool) (ids []int32, assistantMask []bool, err error) {
	if c.form == nil {
		return nil, nil, fault.New(fault.Unsupported, "The model's chat template is not one this engine renders.",
			fault.Code("unsupported_chat_template"),
			fault.Fix("Use the completions endpoint with a prompt you rendered, or serve the model with another engine."))
	}
	if len(msgs) == 0 {
		return nil, nil, fault.InvalidField("messages", "a conversation needs at least one message")
	}
	f := c.form
	r := rendering{t: c.t}
	r.special(f.begin)
	if f.system != "" && msgs[0].Role != "system" {
		r.message(f, Message{"system", f.system})
	}
	for i, m := range msgs {
		if !roles[m.Role] {
			return nil, nil, fault.InvalidField("messages", "message %d has the role %.40q; known roles are system, user, assistant and tool", i, m.Role)
		}
		if !utf8.ValidString(m.Content) {
			return nil, nil, fault.InvalidField("messages", "message %d is not valid UTF-8", i)
		}
		r.message(f, m)
	}
	if generationPrompt {
		r.header(f, "assistant", "")
	}
	return r.ids, r.mask, nil
}

// pythonSpace is what Jinja's trim takes away.
func pythonSpace(r rune) bool { return unicode.IsSpace(r) || r >= 0x1C && r <= 0x1F }

type rendering struct {
	t    *Tokenizer
	ids  []int32
	mask []bool
}

func (r *rendering) special(token string) {
	if token != "" {
		id, _ := r.t.ID(token)
		r.ids, r.mask = append(r.ids, id), append(r.mask, false)
	}
}

// never is a place no text reaches: nothing of it is learnt.
const never = math.MaxInt

// plain appends text, learnt from byte learnFrom on.
func (r *rendering) plain(text string, learnFrom int) {
	at := 0
	for _, id := range r.t.Encode(text) {
		r.ids, r.mask = append(r.ids, id), append(r.mask, at >= learnFrom)
		at += len(r.t.TokenBytes(id))
	}
}

// header opens a turn; what follows the header as plain text is encoded with it, as one text, because a program
// that tokenizes the rendered template does so too.
func (r *rendering) header(f *form, role, content string) {
	r.special(f.open)
	before := role
	if f.sep != "" {
		r.plain(role, never)
		r.special(f.sep)
		before = ""
	}
	before += f.afterRole
	learn := len(before)
	if role != "assistant" {
		learn = never
	}
	r.plain(before+content, learn)
}

func (r *rendering) message(f *form, m Message) {
	if f.trim {
		m.Content = strings.TrimFunc(m.Content, pythonSpace)
	}
	r.header(f, m.Role, m.Content)
	r.special(f.closeToken)
	r.mask[len(r.mask)-1] = m.Role == "assistant"
	if f.afterClose != "" {
		r.plain(f.afterClose, never)
	}
}
