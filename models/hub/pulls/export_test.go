package pulls

// MostRunning is the bound of a project.
const MostRunning = mostRunning

// Wait returns when nothing is worked on.
func (s *Service) Wait() { s.wait.Wait() }
