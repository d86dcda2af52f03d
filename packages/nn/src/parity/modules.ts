// Original classes and functions that this package repeats, by the name a case stores.

import type { ParityModules } from "../parity-entry.ts";
import { attentionReference, blockSparseReference, fftConvReference, sparseFftConv } from "./functions.ts";
import { fullOperator, standaloneOperator } from "./hyena.ts";
import { h3Modules } from "./h3.ts";
import { longConvModules } from "./long-conv.ts";
import { hyenaDnaModel, longConvLanguageModel, sequenceDecoder } from "./long-conv-model.ts";
import { monarchBertModules } from "./monarch-bert.ts";
import { monarchModules } from "./monarch.ts";
import { s4ndModules } from "./s4nd.ts";
import { stateSpaceModules } from "./state-spaces.ts";
import { stripedHyenaModules } from "./striped-hyena.ts";

export const parityModules: ParityModules = {
  "src.models.sequence.hyena.HyenaOperator": fullOperator,
  "standalone_hyena.HyenaOperator": standaloneOperator(0),
  "standalone_hyenadna.HyenaOperator": standaloneOperator(0.05),
  "src.models.sequence.long_conv_lm.ConvLMHeadModel": longConvLanguageModel,
  "standalone_hyenadna.HyenaDNAModel": hyenaDnaModel,
  "standalone_hyenadna.SequenceDecoder": sequenceDecoder,
  "tests/test_flashfftconv.py::ref_fft_conv": fftConvReference,
  "flashfftconv.sparse_conv": sparseFftConv,
  "tests/test_util.py::attention_ref": attentionReference,
  "tests/test_flash_attn.py::attention_blocksparse_ref": blockSparseReference,
  ...h3Modules,
  ...longConvModules,
  ...monarchBertModules,
  ...monarchModules,
  ...s4ndModules,
  ...stateSpaceModules,
  ...stripedHyenaModules,
};
