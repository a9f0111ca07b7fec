// The form below a conversation: sends a message or the answer to a question, or stops the agent while it is busy.
import { answerIn, fieldsOf } from "./questions.js";

function Field({ name, label, type, choices, required, alone }) {
  const shared = { name, id: name, "aria-label": alone ? "Message" : undefined };
  const input = choices ? (
    <select {...shared}>
      {choices.map((choice) => <option key={String(choice)}>{String(choice)}</option>)}
    </select>
  ) : (
    <input {...shared} type={type} step="any" required={required} placeholder={alone && "Message"} autoComplete="off" autoFocus={alone} />
  );
  return alone ? input : <label>{label}{input}</label>;
}

/** `onSend(value)` may return a promise: the message stays in its field until it resolves. */
export function Composer({ busy, question, problem, onSend, onStop }) {
  const { prompt, schema } = question ?? {};
  const submit = async (event) => {
    event.preventDefault();
    const form = event.currentTarget;
    if (busy) return;
    try {
      await onSend(answerIn(form, schema));
      form.reset();
    } catch {
      // `problem` says why
    }
  };
  return (
    <form onSubmit={submit}>
      {prompt && <label htmlFor="text" id="question">{prompt}</label>}
      <div id="fields">
        {fieldsOf(schema).map((field) => <Field key={field.name} {...field} alone={!schema?.properties} />)}
      </div>
      {busy ? <button type="button" id="stop" onClick={onStop}>Stop</button> : <button>Send</button>}
      <small id="problem" role="alert">{problem}</small>
    </form>
  );
}
