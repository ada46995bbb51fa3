package tenancy

import (
	"context"
	"slices"
	"strings"

	"github.com/triarch-ai/triarch/internal/fault"
)

// PutMember adds a member or changes the role. What the member's keys made can do no more than the member from then
// on. The last owner can be demoted only by a key that is neither the member's nor made by one.
func (s *Service) PutMember(ctx context.Context, by Maker, project, email string, role Role) (Member, error) {
	email, err := checkEmail(email)
	if err != nil {
		return Member{}, err
	}
	if _, err := ParseRole(string(role)); err != nil {
		return Member{}, err
	}
	line, err := s.line(ctx, by)
	if err != nil {
		return Member{}, err
	}
	m := Member{ProjectID: project, Email: email, Role: role, CreatedAt: s.now()}
	if err := s.done(ctx, s.Store.PutMember(ctx, m, free(line, project, email))); err != nil {
		return Member{}, err
	}
	return s.Store.Member(ctx, project, email)
}

// RemoveMember removes a member and revokes the member's keys with all that they made. With keepChildren it keeps what
// they made for others. The last owner can be removed only by a key that is neither the member's nor made by one.
func (s *Service) RemoveMember(ctx context.Context, by Maker, project, email string, keepChildren bool) error {
	email = strings.ToLower(email)
	line, err := s.line(ctx, by)
	if err != nil {
		return err
	}
	unbound := free(line, project, email)
	own := len(line) > 0 && line[0].ProjectID == project && line[0].Member == email
	if len(line) > 0 && !unbound && !own && !keepChildren {
		return endsItself("A key of this member made the key that asks, which would end with it.")
	}
	return s.done(ctx, s.Store.RemoveMember(ctx, project, email, s.now(), keepChildren, unbound))
}

// RevokeKey ends a key at once and for good, with all that it made; with keepChildren it alone. A key that was kept
// stays bound by the limits and the budget of the one that made it.
func (s *Service) RevokeKey(ctx context.Context, by Maker, project, id string, keepChildren bool) error {
	line, err := s.line(ctx, by)
	if err != nil {
		return err
	}
	if !keepChildren && id != by.KeyID && has(line, id) {
		return endsItself("This key made the key that asks, which would end with it.")
	}
	return s.done(ctx, s.Store.RevokeKey(ctx, project, id, s.now(), keepChildren))
}

func endsItself(message string) error {
	return fault.New(fault.Conflict, message, fault.Code("ends_itself"), fault.Field("keep_children"),
		fault.Fix("Keep what it made (--keep-children), or use a key that it did not make."))
}

// line is the key behind a Maker with those above it; empty for one that acts without a key.
func (s *Service) line(ctx context.Context, by Maker) ([]Key, error) {
	if by.KeyID == "" {
		return nil, nil
	}
	return s.Store.Line(ctx, by.OrgID, by.KeyID)
}

// free says whether a key, with those above it, is of nobody who depends on the member.
func free(line []Key, project, email string) bool {
	return len(line) > 0 && !slices.ContainsFunc(line, func(k Key) bool { return k.ProjectID == project && k.Member == email })
}

func has(line []Key, id string) bool {
	return slices.ContainsFunc(line, func(k Key) bool { return k.ID == id })
}

// under puts a new key under its maker, the first of the line: its bounds and its member are the maker's.
func (s *Service) under(line []Key, k *Key) error {
	if len(line) == 0 {
		return nil
	}
	if len(line) >= MaxDepth {
		return fault.Newf(fault.Forbidden, "The key that asks is the last of %d that made one another; it can make no more.", MaxDepth)
	}
	if k.Member == "" {
		k.Member = line[0].Member
	}
	return within(line[0], k)
}
