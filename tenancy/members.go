package tenancy

import (
	"context"
	"slices"
	"strings"

	"github.com/triarch-ai/triarch/internal/fault"
	"github.com/triarch-ai/triarch/internal/page"
)

// PutMember adds a member or changes the role. What the member's keys made can do no more than the member from then
// on. A member that a key of less Height than one of the member's asks for, or a key below one of the member's, is not
// demoted. The last owner can be demoted only by a key that is neither the member's nor made by one.
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
	switch now, err := s.Store.Member(ctx, project, email); {
	case fault.Is(err, fault.NotFound):
	case err != nil:
		return Member{}, err
	case !role.AtLeast(now.Role):
		if err := s.mayEndMember(ctx, by, line, project, email); err != nil {
			return Member{}, err
		}
	}
	m := Member{ProjectID: project, Email: email, Role: role, CreatedAt: s.now()}
	if err := s.done(ctx, s.Store.PutMember(ctx, m, free(line, project, email))); err != nil {
		return Member{}, err
	}
	return s.Store.Member(ctx, project, email)
}

// RemoveMember removes a member and revokes the member's keys with all that they made. With keepChildren it keeps what
// they made for others. A member that a key of less Height than one of the member's asks for, or a key below one of the
// member's, is not removed. The last owner can be removed only by a key that is neither the member's nor made by one.
func (s *Service) RemoveMember(ctx context.Context, by Maker, project, email string, keepChildren bool) error {
	email = strings.ToLower(email)
	line, err := s.line(ctx, by)
	if err != nil {
		return err
	}
	if err := s.mayEndMember(ctx, by, line, project, email); err != nil {
		return err
	}
	return s.done(ctx, s.Store.RemoveMember(ctx, project, email, s.now(), keepChildren, free(line, project, email)))
}

// RevokeKey ends a key at once and for good, with all that it made; with keepChildren it alone. A key that was kept
// stays bound by the limits and the budget of the one that made it, and by the role of its member. A key ends neither
// one above itself nor one of more Height.
func (s *Service) RevokeKey(ctx context.Context, by Maker, project, id string, keepChildren bool) error {
	line, err := s.line(ctx, by)
	if err != nil {
		return err
	}
	if id != by.KeyID && has(line, id) {
		return notBelow("A key cannot revoke one that made it, or that made its maker.")
	}
	if by.KeyID != "" {
		k, err := s.Store.Key(ctx, project, id)
		if err != nil {
			return err
		}
		if higher(k, by) {
			return tooHigh("The key")
		}
	}
	return s.done(ctx, s.Store.RevokeKey(ctx, project, id, s.now(), keepChildren))
}

// mayEndMember says whether by, the first of the line, may end what a member can do: none of the member's keys stands
// above it or reaches higher.
func (s *Service) mayEndMember(ctx context.Context, by Maker, line []Key, project, email string) error {
	if len(line) == 0 {
		return nil
	}
	if len(line) > 1 && !free(line[1:], project, email) {
		return notBelow("A key of this member made the key that asks, or its maker.")
	}
	keys, err := s.Store.Keys(ctx, project, page.All)
	if err != nil {
		return err
	}
	for _, k := range keys {
		if k.Member == email && k.RevokedAt == nil && higher(k, by) {
			return tooHigh("A key of this member")
		}
	}
	return nil
}

// higher says whether a key reaches higher than whoever asks.
func higher(k Key, by Maker) bool { return heights[Height(k.Scopes)] > heights[Height(by.Scopes)] }

func notBelow(message string) error {
	return fault.New(fault.Forbidden, message, fault.Code("above"), fault.Fix("Use a key that it did not make."))
}

func tooHigh(what string) error {
	return fault.New(fault.Forbidden, what+" has a wider scope, organisation or platform, than the key that asks.", fault.Code("above"),
		fault.Fix("Use a key with that scope."))
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
