// A request that failed: what the page says of it, and where.

import { ApiError } from "./api.js";
import { showFieldError } from "./field_errors.js";
import { tell } from "./notice.js";

/** Tell of an error of a request, at the field that it names. refused(): called when the server wants an API key. */
export function showFailure(error, refused) {
  if (!(error instanceof ApiError)) return tell("The server cannot be reached.");
  if (error.status === 401) return refused();
  const control = showFieldError(error.param, error.message);
  const isInPanel = control?.closest("#panel") ?? false;
  if (control && !isInPanel) control.focus();
  return tell(error.message, isInPanel ? control : null);
}
