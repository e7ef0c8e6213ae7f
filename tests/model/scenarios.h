// scenarios: the programs that the model is run with, and how often the adversary may strike.
//
// A scenario is small on purpose: all its states are walked. TANGELO_MODEL_MORE=N adds N server
// crashes and N lost connections to each; TANGELO_MODEL_STATES_MAX bounds the memory (130 bytes for
// a state).
#pragma once

#include <string_view>

#include "tests/model/recovery_model.h"

namespace tangelo::model {

// Stops the process if there is none of this name.
scenario scenario_named(std::string_view name);
std::vector<std::string_view> scenario_names();

}  // namespace tangelo::model
